"""The page at /docs needs no network but the gateway itself."""

from __future__ import annotations

import gzip
import re

import pytest

from bkg_workbench.gateway import docs


def test_the_page_asks_for_nothing_but_its_own_files():
    body, headers = docs.page()
    asked = re.findall(rb'(?:src|href)="([^"]+)"', body)
    assert {address.decode() for address in asked} == {"data:,"} | {
        f"/docs/{name}" for name in docs.FILES
    }
    assert "connect-src 'self'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("name", sorted(docs.FILES))
def test_each_of_its_files_is_there(name: str):
    answer = docs.file(name)
    assert answer is not None
    body, headers = answer
    text = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
    assert len(text) > 100
    assert headers["Content-Type"] == docs.FILES[name]


@pytest.mark.parametrize("name", ["", "../docs.py", "README.md", "swagger-ui.css.gz"])
def test_no_other_file_is_given(name: str):
    assert docs.file(name) is None
