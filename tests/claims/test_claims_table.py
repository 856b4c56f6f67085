"""The table as a whole: reproducible from what is committed, a newcomer's claims in it, the verb and the page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from made_runs import MakeRun
from ngptlab import methods
from ngptlab.claims.claim import VERDICTS
from ngptlab.claims.evidence import Evidence
from ngptlab.claims.table import markdown, table
from ngptlab.cli import main
from ngptlab.errors import LabError
from ngptlab.evidence import gather
from ngptlab.recipes import claims, names

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]
Bring = Callable[[str, str], None]

NEWCOMER = '''
"""Claims of a newcomer."""
from ngptlab.claims.claim import Claim, Source
from ngptlab.claims.rules import LowerLoss

SOURCE = Source(
    title="Newcomer",
    where="nowhere",
    claims=(
        Claim(
            id="ID", statement="it is lower | <b>", source="s", scale="c", rule=LowerLoss(method="new", baseline="old")
        ),
    ),
)
'''


@pytest.fixture
def bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bring:
    """Put a newcomer's file among the sources."""

    def put(text: str, name: str) -> None:
        folder = tmp_path / "sources"
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        monkeypatch.setattr(claims, "__path__", [*claims.__path__, str(folder)])

    return put


def test_the_committed_page_is_what_the_command_prints_from_what_is_committed() -> None:
    """If this fails, results/ or a rule changed: run `ngptlab claims results --out docs` and read the difference."""
    groups = table(claims.sources(), gather([ROOT / "results"])[0])
    assert markdown(groups) == (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert json.loads((ROOT / "docs" / "claims.json").read_text(encoding="utf-8")) == groups


def test_the_verb_writes_the_same_bytes_from_anywhere(work: Path, capsys: Captured) -> None:
    assert main(["claims", str(ROOT / "results"), "--out", "a"]) == 0
    said = capsys.readouterr().out
    assert "lower-loss" in said and " claims; holds: " in said and "The table: a/claims.md" in said
    for name in ("claims.md", "claims.json"):
        assert (work / "a" / name).read_bytes() == (ROOT / "docs" / name).read_bytes()


def test_a_newcomer_s_file_is_in_the_table(arms: Callable[..., Evidence], bring: Bring) -> None:
    bring(NEWCOMER.replace("ID", "new-lower"), "a_newcomer")
    groups = table(claims.sources(), arms([1.0, 1.1, 1.2], [1.1, 1.21, 1.29]))
    (row,) = [row for group in groups for row in group["rows"] if row["id"] == "new-lower"]
    assert row["verdict_text"] == "holds at our scale" and row["our_scale"].endswith("3 seeds")
    assert row["hashes"] == ["old0000", "new0000"] and row["rule"]["name"] == "LowerLoss"
    assert "it is lower \\| &lt;b>" in markdown(groups), "a cell stays a cell"


def test_an_id_stands_once(bring: Bring) -> None:
    bring(NEWCOMER.replace("ID", "lower-loss"), "b_newcomer")
    with pytest.raises(LabError, match="'lower-loss' stands twice"):
        claims.sources()


def test_without_evidence_nothing_is_decided() -> None:
    rows = [row for group in table(claims.sources(), Evidence()) for row in group["rows"]]
    assert {row["verdict"] for row in rows} == {"not yet tested", "out of reach here"}
    assert all(row["reason"] and not row["measured"] and not row["hashes"] for row in rows)
    assert all(row["source"] and row["scale"] and row["statement"].endswith(".") for row in rows)
    json.dumps(rows, allow_nan=False)


def test_claims_name_methods_that_exist() -> None:
    """A misspelt method would never be tested."""
    known = set(methods.names())
    for source in claims.sources():
        for claim in source.claims:
            fields = vars(claim.rule)
            named = {fields.get(key) for key in ("method", "base", "target")} - {None}
            if "param" not in fields or fields.get("baseline") in known:
                named |= {fields.get("baseline")} - {None}
            assert named <= known, claim.id


def test_a_limit_is_the_source_s_or_named_as_our_reading() -> None:
    for source in claims.sources():
        for claim in source.claims:
            fields = vars(claim.rule)
            limits = [
                abs(fields[key]) for key in ("low", "high", "most", "margin", "within") if key in fields
            ]
            stated = all(f"{limit:g}" in claim.statement for limit in limits if math.isfinite(limit))
            assert stated or "our reading" in claim.source, claim.id


def test_sources_are_no_recipes() -> None:
    assert "claims" not in names() and {"paper", "replication"} <= set(claims.names())


def test_every_verdict_is_explained() -> None:
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert all(f"| {verdict}" in page for verdict in VERDICTS)


def test_wrong_paths_are_one_line(work: Path, capsys: Captured) -> None:
    assert main(["claims"]) == 2 and "no folder results here" in capsys.readouterr().err
    assert main(["claims", "nowhere"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ngptlab: nowhere: not there") and error.count("\n") == 1
    assert not (work / "out").exists()


def test_the_page_has_a_section_where_it_is_asked_for(make_run: MakeRun, work: Path, bring: Bring) -> None:
    """Everything in it may come from a stranger's file."""
    bring(NEWCOMER.replace("ID", "new-lower"), "c_newcomer")
    runs = [str(make_run(method, {0: 5.0, 100: 2.0})) for method in ("gpt", "ngpt")]
    assert main(["report", *runs, "--out", "plain"]) == 0
    assert main(["report", *runs, "--out", "asked", "--claims", *runs]) == 0
    plain, asked = (Path(name, "report.html").read_text(encoding="utf-8") for name in ("plain", "asked"))
    assert "Claims, and what was measured here" in asked and "Claims, and" not in plain
    assert "it is lower | &lt;b&gt; (s)" in asked
    assert "ngpt minus gpt: +0.0000 nats" in asked and asked.count("one seed") >= 2
    assert (
        main(["report", *runs, "--out", "wrong", "--claims", "nowhere"]) == 2 and not Path("wrong").exists()
    )
