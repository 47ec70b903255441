"""The benchmark: comet beside its peers, the same work for each, in one run.

``servers`` how a server is started, and what it takes; ``peers`` who is measured; ``apps`` the peers' own programs;
``load`` the subscribers, who check what they get, and the publisher; ``aside`` parts of the load in processes of their
own; ``works`` what is done and measured; ``rounds`` in what order; ``goals`` what the figures must show; ``report`` and
``picture`` the page.
"""
