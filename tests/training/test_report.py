import numpy as np

from training.fit import Evaluation
from training.report import Comparison


def evaluation(correct: int) -> Evaluation:
    return Evaluation(np.array([[correct, 100 - correct], [0, 0]]), calibration_error=0.0)


def test_the_table_gives_mean_and_range_over_seeds() -> None:
    by_seed = {
        seed: {"train": evaluation(90 + seed), "test10k": evaluation(80 + 2 * seed)}
        for seed in range(3)
    }
    assert Comparison("notebook", {"baseline": by_seed}).markdown().splitlines() == [
        "| network, recipe `notebook` | train | test10k |",
        "| --- | ---: | ---: |",
        "| `baseline` | 91.00 % (90.00 to 92.00) | 82.00 % (80.00 to 84.00) |",
    ]
