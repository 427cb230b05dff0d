"""The grammar of the verbs about who may: `bkg keys`, `users`, `login` and `audit`.

Owns their arguments and help, as `cli.parser` does for the other verbs.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

Verb = Callable[..., Any]

_DURATION = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SCOPE = "a capability (repo.tree), an area (repo.*) or admin; may be repeated"


def add_account_verbs(verbs: Any, verb: Verb, whole_number: Callable[[str], int]) -> None:
    """Add them to `verbs`; `verb` and `whole_number` are the parser's own helpers."""
    _add_login(verbs, verb)
    _add_keys(verbs, verb, whole_number)
    _add_users(verbs, verb)
    _add_audit(verbs, verb, whole_number)


def span(text: str) -> int:
    """An option's value as seconds: 90s, 15m, 24h, 30d; 0 is 0."""
    if text == "0":
        return 0
    found = _DURATION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 15m, 24h or 30d")
    return int(found[1]) * _UNITS[found[2]]


def noted(text: str) -> tuple[int, str]:
    """An option's value as the head of a chain: SEQ:HASH."""
    seq, _, digest = text.partition(":")
    if not seq.isascii() or not seq.isdigit() or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise argparse.ArgumentTypeError(f"{text!r} is no head as `bkg audit verify` prints it")
    return int(seq), digest


def _group(verbs: Any, name: str, summary: str) -> Any:
    parser = verbs.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
    )
    return parser.add_subparsers(title="verbs", metavar="VERB", required=True)


def _scopes(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--scope", dest="scopes", action="append", metavar="SCOPE", required=required,
        default=None, help=SCOPE,
    )  # fmt: skip


def _add_login(verbs: Any, verb: Verb) -> None:
    login = verb(
        verbs,
        "login",
        "login:login",
        "begin a session and print its token",
        "auth.login",
        text="The password is asked for, or read from stdin. The token alone goes to stdout, so "
        "that TOKEN=$(bkg login ada) keeps it out of sight.",
    )
    login.add_argument("user", metavar="USER", nargs="?", default="admin", help="default admin")


def _add_keys(verbs: Any, verb: Verb, whole_number: Callable[[str], int]) -> None:
    below = _group(verbs, "keys", "make, list, rotate and revoke API keys")
    create = verb(
        below,
        "create",
        "keys:create",
        "make an API key and print it, once",
        "auth.createKey",
        text="The key alone goes to stdout.",
    )
    create.add_argument("user", metavar="USER", nargs="?", default="admin", help="default admin")
    _scopes(create, required=True)
    create.add_argument("--label", metavar="TEXT", default="", help="what it is for")
    create.add_argument(
        "--expires", type=span, metavar="TIME", help="ends after this: 15m, 24h, 30d"
    )
    create.add_argument(
        "--rate", type=whole_number, metavar="N", help="may be used N times a minute"
    )
    listed = verb(below, "list", "keys:list_", "show API keys, masked", "auth.listKeys")
    listed.add_argument("--user", metavar="USER", help="of this user only")
    listed.add_argument("--ended", action="store_true", help="also those that have ended")
    revoke = verb(below, "revoke", "keys:revoke", "end an API key now", "auth.revokeKey")
    rotate = verb(
        below,
        "rotate",
        "keys:rotate",
        "give an API key a new secret and print it, once",
        "auth.rotateKey",
        text="Id, scopes and label stay; the old secret is valid for the overlap.",
    )
    rotate.add_argument(
        "--overlap", type=span, metavar="TIME", help="such as 24h (default: the setting's)"
    )
    for parser in (revoke, rotate):
        parser.add_argument("id", metavar="ID", help="as `bkg keys list` shows it")


def _add_users(verbs: Any, verb: Verb) -> None:
    below = _group(verbs, "users", "list, add, change and delete users")
    verb(below, "list", "users:list_", "show users", "auth.users.list")
    add = verb(
        below,
        "add",
        "users:add",
        "add a user",
        "auth.users.create",
        text="The password is asked for, or read from stdin.",
    )
    _scopes(add, required=False)
    password = verb(
        below,
        "password",
        "users:password",
        "set a user's password; their sessions end",
        "auth.users.setPassword",
        "host.auth.begin",
        text="The password is asked for, or read from stdin. For `admin` this is also the first "
        "start of apikeys.",
    )
    for parser in (add, password):
        parser.add_argument(
            "--generate", action="store_true", help="make a strong one and print it, once"
        )
    scopes = verb(below, "scopes", "users:scopes", "set what a user may do", "auth.users.update")
    _scopes(scopes, required=True)
    disable = verb(
        below, "disable", "users:disable", "keep a user out; their sessions end",
        "auth.users.update",
    )  # fmt: skip
    enable = verb(below, "enable", "users:enable", "let a user in again", "auth.users.update")
    delete = verb(
        below, "delete", "users:delete", "remove a user with their keys and sessions",
        "auth.users.delete",
    )  # fmt: skip
    for parser in (add, password, scopes, disable, enable, delete):
        parser.add_argument("name", metavar="NAME", help="a user")


def _add_audit(verbs: Any, verb: Verb, whole_number: Callable[[str], int]) -> None:
    below = _group(verbs, "audit", "read the trail of apikeys, and check that it is whole")
    listed = verb(below, "list", "audit:list_", "show what was done and refused", "auth.audit.list")
    listed.add_argument(
        "-n", "--lines", type=whole_number, metavar="N", default=50,
        help="the newest N (default %(default)s)",
    )  # fmt: skip
    verify = verb(
        below,
        "verify",
        "audit:verify",
        "check the chain of the trail on its database",
        text="Works without a Host. Ends with 1 where a row was changed or removed. Note the head "
        "that it prints somewhere else: only against it shows that the end was cut off.",
    )
    verify.add_argument(
        "--expect", type=noted, metavar="SEQ:HASH", help="a head that was noted earlier"
    )
    verify.add_argument("--file", metavar="FILE", help="a database other than the workspace's")
