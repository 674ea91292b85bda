"""pyproject.toml, LICENSE, CITATION.cff and README agree."""

import re
import tomllib

import pytest
import yaml

from tests.documents.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
LICENSE = (ROOT / "LICENSE").read_text()
[AUTHOR] = [author["name"] for author in PROJECT["authors"]]


def test_license_is_complete():
    for number in range(1, 10):
        assert re.search(rf"^   {number}\. [A-Z]", LICENSE, re.MULTILINE)
    assert "END OF TERMS AND CONDITIONS" in LICENSE
    assert re.search(rf"^ +Copyright 20\d\d {AUTHOR}$", LICENSE, re.MULTILINE)
    assert not re.search(r"\[(yyyy|name of copyright owner)\]", LICENSE)
    assert PROJECT["license-files"] == ["LICENSE"]


def test_citation_has_the_fields_of_its_format():
    """Those that version 1.2.0 of the Citation File Format requires, and none that it does not know."""
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys()
    known = {"abstract", "doi", "date-released", "keywords", "license", "repository-code", "type", "url", "version"}
    assert CITATION.keys() <= known | {"cff-version", "message", "title", "authors"}
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["type"] == "software"
    assert all(isinstance(word, str) for word in CITATION["keywords"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CITATION["title"], PROJECT["name"]),
        (CITATION["version"], PROJECT["version"]),
        (CITATION["license"], PROJECT["license"]),
        (CITATION["authors"], [{"name": AUTHOR}]),
        (CITATION["abstract"], PROJECT["description"] + "."),
    ],
)
def test_citation_agrees_with_the_project(value, expected):
    assert value == expected


def test_readme_names_the_versions():
    line = (ROOT / "README.md").read_text().splitlines()[2]
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    bounds = {
        name: re.search(rf"^{name}>=(\d+\.\d+)", "\n".join(PROJECT["dependencies"]), re.MULTILINE)[1]
        for name in ("torch", "lightning")
    }
    torch, lightning = bounds["torch"], bounds["lightning"]
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    expected = (
        f"Python {pythons[0]} to {pythons[-1]} · torch {torch} or newer · Lightning {lightning} · {PROJECT['license']}"
    )
    assert line == expected
