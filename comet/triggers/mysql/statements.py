"""Statements: which of those that the binary log has instead of rows may have changed the rows of a table.

Strategy: what leaves rows alone is known, and whatever else names the table counts. Too often is allowed, too seldom
is not. SQL is not parsed: strings and comments are taken out, and what is left is searched for the name.
"""

from __future__ import annotations

import re


#: 'It''s', 'it\'s': what is in single quotes names no table. Double quotes may, with ANSI_QUOTES.
_STRING = re.compile(r"'(?:[^'\\]|\\.|'')*'", re.DOTALL)
_COMMENT = re.compile(r"/\*(?![!M]).*?\*/|(?:#|--\s)[^\n]*", re.DOTALL)
#: /*!40005 TEMPORARY */ is no comment but a part of the statement.
_CONDITIONAL = re.compile(r"/\*M?!\d*|\*/")

#: These leave the rows of every table that is not temporary as they are, and its columns too.
_HARMLESS = re.compile(
    r"\s*(?:(?:BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|GRANT|REVOKE|ANALYZE|OPTIMIZE|FLUSH|SET)\b|"
    r"(?:CREATE|ALTER|DROP)\s+(?:OR\s+REPLACE\s+)?(?:(?:ALGORITHM|DEFINER)\s*=\s*\S+\s+)*"
    r"(?:SQL\s+SECURITY\s+\w+\s+)?(?:UNIQUE\s+|FULLTEXT\s+|SPATIAL\s+|AGGREGATE\s+)?"
    r"(?:TEMPORARY|TRIGGER|VIEW|INDEX|PROCEDURE|FUNCTION|PACKAGE|EVENT|USER|ROLE|SEQUENCE|SERVER)\b)",
    re.IGNORECASE,
)
_SCHEMA = re.compile(r"\s*(?:CREATE|DROP)\s+(?:OR\s+REPLACE\s+)?(?:DATABASE|SCHEMA)\b", re.IGNORECASE)
_VERB = re.compile(r"\s*(\w+)")


def verb(statement: str) -> str:
    """The word that it begins with, in capitals: all of it that subscribers are told."""
    found = _VERB.match(_bare(statement))
    return found[1].upper() if found else ""


def touches(statement: str, schema: str, table: tuple[str, str]) -> bool:
    """Whether it may have changed rows of ``table``, (database, name). ``schema``: the database it was run in."""
    text = _bare(statement)
    if _HARMLESS.match(text):
        return False
    database, name = table
    if _SCHEMA.match(text):
        return re.search(_name(database), text, re.IGNORECASE) is not None
    return any(
        (found["of"] or schema).strip('`"').lower() == database.lower()
        for found in re.finditer(rf"(?:(?P<of>`[^`]+`|\"[^\"]+\"|[\w$]+)\s*\.\s*)?{_name(name)}", text, re.IGNORECASE)
    )


def _bare(statement: str) -> str:
    return _CONDITIONAL.sub(" ", _COMMENT.sub(" ", _STRING.sub("''", statement)))


def _name(name: str) -> str:
    """The pattern of a name, quoted or not, that is not a part of a longer one."""
    quoted = re.escape(name)
    return rf"(?:`{quoted}`|\"{quoted}\"|(?<![\w$`\"]){quoted}(?![\w$`\"]))"
