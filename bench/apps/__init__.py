"""The peers' own programs: the least that each one's documentation would have a user write.

Each answers ``GET /stream`` with Server-Sent Events and sends the body of a ``POST /publish`` on all of them, with a
number as its id.
"""
