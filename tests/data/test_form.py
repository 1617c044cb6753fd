"""The form of an input survives JSON, and nothing else passes for one."""

import json

import pytest

from seqgan_jax.data.form import ColumnForm, Form, IdForm, TimeForm

COLUMN = ColumnForm("a", "int64", 0, -1.0, 9.0, 1.0, ((0.0, 0.5),), 0.0, "grid", ("read with K",))
TIME = TimeForm("date", "datetime", 86400.0, "D", 0.0, "%Y-%m-%d", "")
FORM = Form(
    *("csv", "long", (COLUMN,), ("id", "date", "a", "word"), (IdForm("id", "str"),), TIME),
    *((("word", "words"),), ",", "."),
)


def test_json_keeps_it():
    stored = json.loads(json.dumps(FORM.to_json()))
    assert Form.from_json(stored) == FORM
    assert Form.from_json(stored | {"time": None}).time is None


@pytest.mark.parametrize(
    "change",
    [
        {"source": "sql"},
        {"layout": "auto"},
        {"decimal": "x"},
        {"separator": 3},
        {"order": "abc"},
        {"order": [1]},
        {"columns": [{}]},
        {"columns": [COLUMN.__dict__ | {"low": float("nan")}]},
        {"columns": [COLUMN.__dict__ | {"decimals": -1}]},
        {"columns": [COLUMN.__dict__ | {"grid": 0}]},
        {"columns": [COLUMN.__dict__ | {"kind": "category"}]},
        {"columns": [COLUMN.__dict__ | {"atoms": [[1, 2, 3]]}]},
        {"columns": [COLUMN.__dict__ | {"atoms": [[0, 0]] * 4}]},
        {"ids": [{"name": "id"}]},
        {"time": {"name": "t"}},
        {"time": TIME.__dict__ | {"step": "1"}},
        {"left_out": [["a"]]},
        {"more": 1},
    ],
)
def test_anything_else_is_refused(change):
    with pytest.raises(ValueError):
        Form.from_json(json.loads(json.dumps(FORM.to_json())) | change)
    with pytest.raises(ValueError):
        Form.from_json([change])
