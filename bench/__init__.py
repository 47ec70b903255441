"""The benchmark: comet beside its peers, the same work for each, in one run.

Each round starts each server afresh on one core, with everything that reads on another, and the rounds of all servers
interleave: on a machine that is never quite quiet, ratios hold where single figures do not.

``bare.py`` what comet is held against; ``servers.py`` how each is started; ``load.py`` the subscribers, who check
what they get; ``rounds.py`` what is measured; ``report.py`` the table, the page and the picture.
"""
