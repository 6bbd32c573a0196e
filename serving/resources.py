"""Paths of the files shipped with the code: the pages, the models, the report."""

from pathlib import Path

PACKAGE = Path(__file__).parent
# A wheel has the models and the report inside the package, a clone and a bento next to it.
BESIDE = PACKAGE if (PACKAGE / "models").is_dir() else PACKAGE.parent

WEB = PACKAGE / "web"
MODELS = BESIDE / "models"
REPORT = BESIDE / "docs" / "report.md"
REPORT_PICTURES = BESIDE / "docs" / "report"
