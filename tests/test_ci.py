"""CI runs the one script that anybody can run, and nothing of its own."""

from __future__ import annotations

import os

import yaml

from tests.conftest import ROOT


def test_the_workflow_runs_the_script() -> None:
    """Protects from a second list of checks, of which one is forgotten: Triton's tests were."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
