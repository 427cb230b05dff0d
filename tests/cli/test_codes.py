"""One table says which error ends with which exit code."""

from __future__ import annotations

import pytest

from bkg_workbench.cli import codes
from bkg_workbench.errors import (
    CapabilityNotFound,
    CapabilityUnavailable,
    ConfigConflict,
    ConfigInvalid,
    HostGone,
    HostNotFound,
    PluginFailure,
    RequestTimeout,
    StoreError,
    Unauthenticated,
    WorkbenchError,
    WorkspaceOwned,
    by_code,
)


def test_every_error_has_its_row() -> None:
    statuses = [status for row in codes.TABLE for status in row.statuses]
    assert {kind.status for kind in by_code().values()} <= set(statuses)
    assert len(statuses) == len(set(statuses)), "a status stands in two rows"


def test_every_wire_code_of_the_table_is_one() -> None:
    assert {code for row in codes.TABLE for code in row.codes} <= set(by_code())


def test_numbers_rise_and_fit_into_a_byte() -> None:
    numbers = [row.number for row in codes.TABLE]
    assert numbers == sorted(set(numbers))
    assert all(0 <= number <= 255 for number in numbers)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (PluginFailure, 1),
        (HostNotFound, 3),
        (HostGone, 3),
        (CapabilityNotFound, 4),
        (ConfigInvalid, 5),
        (ConfigConflict, 6),
        (WorkspaceOwned, 6),
        (CapabilityUnavailable, 69),
        (StoreError, 70),
        (RequestTimeout, 75),
        (Unauthenticated, 77),
    ],
)
def test_an_error_ends_with_its_code(error: type[WorkbenchError], number: int) -> None:
    assert codes.exit_code(error()) == number


def test_an_error_with_a_status_that_nobody_knows_is_a_failed_request() -> None:
    class Odd(WorkbenchError):
        code, status = "odd", 418

    assert codes.exit_code(Odd()) == codes.FAILED
