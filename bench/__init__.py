"""The benchmark: comet beside its peers, the same work for each, in one run.

``servers`` what is measured, and how each is started; ``bare`` what comet is held against; ``load`` the subscribers,
who check what they get; ``rounds`` the work and its figures; ``report`` the table, the page and the picture.
"""
