"""MySQL and MariaDB: three triggers of which a table suits one. docs/triggers.md says which.

* ``outbox``: rows that a program writes to be published, each once
* ``query``: what a query gives, whenever it has changed
* ``binlog``: every change of a table, from the server's binary log
* ``address``: where the server is, and its connections; ``failures``: what its errors mean
* ``mapping``: rows as JSON, the same for all three
* of ``binlog``: ``checks`` of the server, the ``stream`` of its log from a ``place`` on, ``transactions`` made of that,
  with their ``rows`` and the ``statements`` that hide some, and the ``backlog`` of what is not published yet
"""
