"""A missing extra comes with the line that works for this installation."""

import json
from importlib import metadata

import pytest

from pushforward._errors import install_line, missing_extra


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (None, "pip install 'pushforward[flows]'"),
        (
            {"url": "file:///some/clone", "dir_info": {"editable": True}},
            "pip install -e '/some/clone[flows]'",
        ),
        ({"url": "file:///a%20b/x.whl", "archive_info": {}}, "pip install '/a b/x.whl[flows]'"),
    ],
)
def test_the_line_fits_the_installation(monkeypatch, where, line):
    class Installed:
        def read_text(self, name):
            return json.dumps(where) if where else None

    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())
    assert install_line("flows") == line
    assert line in str(missing_extra("this", "flowjax", "flows"))
