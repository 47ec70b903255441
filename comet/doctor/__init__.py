"""The doctor: what a path through proxies does to streams, and what to change on it.

Strategy: ``examination`` measures, from where it runs and with nothing but what every comet answers; what it has seen
is a value (``seen``). ``verdicts`` says of each thing whether it is as it should be: pure functions, in a table; those
of streams and of waiting are in ``flow``. ``advice`` has what to change, in the words of each proxy; ``report`` writes
it down.

Rule 1: a verdict looks at nothing but what was seen. Rule 2: one fault has one name; what it spoils elsewhere is not
measured, rather than wrong. Rule 3: nothing is published but to channels of the doctor's own, which are deleted.
"""
