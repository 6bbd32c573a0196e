import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from tests.conftest import ROOT
from tests.training.conftest import drawn_digits
from training import dataset
from training.card import load_results
from training.dataset import Digits
from training.recipes import RecipeName
from training.report import BLOCKS, NETWORKS, RECIPES, ReportError, write_report

COMMITTED = ROOT / "results"

# Blocks that depend on the test digits, not only on the results.
OF_DIGITS = {"mistakes", "writers"}


@pytest.fixture(scope="module")
def test_digits(qmnist_root: Path | None) -> Digits:
    """QMNIST's test digits, or drawn digits labelled with the committed predictions."""
    if qmnist_root:
        return dataset.load(qmnist_root, "test")
    predictions = load_results(COMMITTED, "strong", "baseline")[0].predictions
    images = drawn_digits(1_000, seed=2).images[torch.arange(len(predictions)) % 1_000]
    rows = torch.arange(len(predictions))
    return Digits(images, torch.from_numpy(predictions), writers=rows // 20, series=rows % 5)


@pytest.fixture(scope="module")
def docs(test_digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report that the command made from scratch."""
    folder = tmp_path_factory.mktemp("docs")
    write_report(COMMITTED, test_digits, folder)
    return folder


def blocks(page: Path) -> dict[str, str]:
    text = page.read_text(encoding="utf-8")
    return dict(re.findall(r'made by make report: (\w+)"\n\n(.+?)\n\n\[//\]', text, re.DOTALL))


def test_the_committed_report_is_what_the_results_make(
    docs: Path, qmnist_root: Path | None
) -> None:
    made, committed = blocks(docs / "report.md"), blocks(ROOT / "docs" / "report.md")
    for name in BLOCKS if qmnist_root else BLOCKS.keys() - OF_DIGITS:
        assert made[name] == committed[name]


def test_every_picture_of_the_report_is_there(docs: Path) -> None:
    for page in (docs / "report.md", ROOT / "docs" / "report.md"):
        pictures = re.findall(r"!\[[^]]+\]\((report/\w+\.png)\)", page.read_text("utf-8"))
        assert len(pictures) == 4
        for picture in pictures:
            assert (page.parent / picture).read_bytes().startswith(b"\x89PNG")


def test_what_a_person_wrote_is_kept(docs: Path, test_digits: Digits, tmp_path: Path) -> None:
    made = (docs / "report.md").read_text(encoding="utf-8")
    words = made.replace("## Accuracy\n", "## Accuracy\n\nMind the *1*.\n")
    stale = words.replace("| `deeper` | `strong` |", "| stale |")
    assert made != words != stale
    (tmp_path / "report.md").write_text(stale, encoding="utf-8")
    write_report(COMMITTED, test_digits, tmp_path)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == words


def test_a_page_that_lacks_a_mark_is_one_sentence(test_digits: Digits, tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("# Report\n", encoding="utf-8")
    with pytest.raises(ReportError, match="one block for accuracy, but has 0"):
        write_report(COMMITTED, test_digits, tmp_path)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == "# Report\n"


def test_the_goals_are_met() -> None:
    """Goals apply to means over three seeds on validation digits; test digits decide nothing."""
    goals: dict[str, float] = {"baseline": 0.9925, "deeper": 0.9935, "dropout": 0.9920}
    for network, goal in goals.items():
        found = load_results(COMMITTED, "strong", network)
        assert [result.seed for result in found] == [0, 1, 2]
        assert np.mean([result.accuracy("validation") for result in found]) >= goal


@pytest.mark.parametrize("network", NETWORKS)
def test_the_served_models_keep_the_promises_of_confidence(network: str) -> None:
    card = load_results(COMMITTED, "strong", network)[0].card
    validation = card["evaluation"]["validation"]
    assert validation["calibration_error"] <= 0.0025
    assert validation["accepted"] / validation["total"] >= 0.95
    assert validation["accepted_correct"] / validation["accepted"] >= 0.998
    refused = {kind: some["refused"] / some["total"] for kind, some in card["rejection"].items()}
    floors = {"letters": 0.94, "halves": 0.86, "noise": 0.985, "scribbles": 0.94, "textures": 0.95}
    for kind, floor in (floors | {"charts": 0.95}).items():
        assert refused[kind] >= floor, kind
    assert refused["printed digits"] <= 0.1


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_layers_gain_is_paired_by_seed(recipe: RecipeName, docs: Path) -> None:
    of = {network: load_results(COMMITTED, recipe, network) for network in NETWORKS}
    assert [r.seed for r in of["deeper"]] == [r.seed for r in of["baseline"]]
    deeper, baseline = (
        [100 * r.accuracy("test10k") for r in of[network]] for network in ("deeper", "baseline")
    )
    gain = np.mean(deeper) - np.mean(baseline)
    lowest, highest = stats.ttest_rel(deeper, baseline).confidence_interval(0.95)
    row = f"| `{recipe}` | {len(deeper)} | {gain:+.2f} | {lowest:+.2f} to {highest:+.2f} |"
    assert row in blocks(docs / "report.md")["layer"]


def test_confidence_is_scored_before_and_after_the_temperature(docs: Path) -> None:
    table = blocks(docs / "report.md")["confidence"]
    for network in NETWORKS:
        card = load_results(COMMITTED, "strong", network)[0].card
        evaluation = card["evaluation"]["test10k"]
        temperature = card["calibration"]["temperature"]
        served = f"| `{network}` | {temperature:.3f} (served) | "
        assert served + cells(evaluation) in table
        before = f"| `{network}` | 1 | " + cells(evaluation["without_temperature"])
        assert (before in table) == (temperature != 1)


def test_letters_are_counted_by_the_family_of_their_font(
    test_digits: Digits, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    shutil.copytree(COMMITTED, results)
    families = {"Kalam": {"total": 52, "refused": 39}, "STIX": {"total": 104, "refused": 91}}
    for network in NETWORKS:
        result = load_results(results, "strong", network)[0]
        result.card["rejection"]["letters"] |= {"families": families}
        result.save(results)
    write_report(results, test_digits, tmp_path)
    table = blocks(tmp_path / "report.md")["refusal"]
    assert "\n| letters in Kalam " + 3 * "| 39 of 52 (75.00 %) " + "|\n" in table
    assert "\n| letters in STIX " + 3 * "| 91 of 104 (87.50 %) " + "|\n" in table


def cells(scores: dict[str, float]) -> str:
    error, likelihood, brier = (
        scores[name] for name in ("calibration_error", "negative_log_likelihood", "brier_score")
    )
    return f"{100 * error:.2f} % | {likelihood:.4f} | {brier:.4f} |"


def test_missing_results_are_one_sentence(test_digits: Digits, tmp_path: Path) -> None:
    shutil.copytree(COMMITTED / "strong", tmp_path / "strong")
    with pytest.raises(ReportError, match=r"no results of baseline with the recipe notebook\. Run"):
        write_report(tmp_path, test_digits, tmp_path)
