"""The one door to Great Expectations: the suite, in code, and its run.

Three batches are judged. ``rows`` is the table as published; ``times`` is one row of counts of what
is irregular, and of windows; ``variates`` is one row of figures a variate (``s2tx.data.profile``),
so that 862 variates cost no more expectations than 7.
"""

from __future__ import annotations

import datetime
import logging
import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from s2tx.data.table import Card, Irregular
from s2tx.params import ValidateParams

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Outcome:
    """One expectation, judged.

    Attributes:
        batch: ``rows``, ``times`` or ``variates``.
        check: its short name.
        severity: what a failure means: ``error`` or ``warning``.
        description: what is expected, in words.
        success: whether it holds.
        offenders: the variates, or the values, that break it; at most 1,000.
    """

    batch: str
    check: str
    severity: str
    description: str
    success: bool
    offenders: tuple[str, ...]


def suites(card: Card, rules: ValidateParams, policy: Irregular) -> dict[str, list[Any]]:
    """What is expected of each batch."""
    import great_expectations.expectations as gxe

    def meta(check: str, severity: str) -> dict[str, str]:
        return {"check": check, "severity": severity}

    def counted(column: str, check: str, severity: str, words: str, **bounds: float) -> Any:
        return gxe.ExpectColumnValuesToBeBetween(
            column=column, description=words, meta=meta(check, severity), **bounds
        )

    irregular = "error" if policy == "refuse" else "warning"
    strict = "warning" if policy == "positional" else "error"
    return {
        "rows": [
            gxe.ExpectTableColumnsToMatchOrderedList(
                column_list=[card.time_column, *card.variates],
                description="The columns are those that the card declares, in its order",
                meta=meta("columns", "error"),
            ),
            gxe.ExpectColumnValuesToNotBeNull(
                column=card.time_column,
                description="Every row has a timestamp",
                meta=meta("timestamps", "error"),
            ),
            gxe.ExpectColumnValuesToBeUnique(
                column=card.time_column,
                description="No timestamp occurs twice",
                meta=meta("duplicates", irregular),
            ),
        ],
        "times": [
            counted("back", "order", "error", "Timestamps increase", max_value=0),
            counted(
                "conflicting",
                "conflicts",
                strict,
                "Rows of the same timestamp hold the same values",
                max_value=0,
            ),
            counted("off_grid", "grid", strict, f"Rows stand {card.step} apart", max_value=0),
            counted("gaps", "gaps", irregular, "No rows are missing", max_value=0),
            counted(
                "excess",
                "gap size",
                strict,
                "The gaps hold fewer rows than the table",
                max_value=0,
            ),
            counted(
                "windows",
                "windows",
                "error",
                "Train, validation and test each hold a window",
                min_value=1,
            ),
        ],
        "variates": [
            gxe.ExpectColumnValuesToBeInSet(
                column="type",
                value_set=["float64"],
                description="Values are numbers",
                meta=meta("types", "error"),
            ),
            counted("infinite", "infinite", "error", "Values are finite", max_value=0),
            counted("huge", "huge", "error", "Values are below 1e15 in size", max_value=0),
            counted(
                "missing_share",
                "missing",
                "error",
                "Few readings are missing",
                max_value=rules.max_missing,
            ),
            gxe.ExpectColumnValuesToNotBeInSet(
                column="distinct",
                value_set=[0, 1],
                description="Variates vary among the train rows",
                meta=meta("constant", "error"),
            ),
            counted(
                "longest_stuck",
                "stuck",
                "warning",
                "No sensor repeats itself for long",
                max_value=rules.max_stuck_steps,
            ),
            counted(
                "stuck_share",
                "stuck share",
                "error",
                "Sensors are seldom stuck",
                max_value=rules.max_stuck_share,
            ),
            counted("outside_share", "range", "warning", "Values lie in range", max_value=0),
            counted(
                "outside_share",
                "range share",
                "error",
                "Values seldom lie outside the range",
                max_value=rules.max_outside_range,
            ),
        ],
    }


def judge(
    batches: dict[str, pd.DataFrame], expected: dict[str, list[Any]], docs: Path | None = None
) -> list[Outcome]:
    """Judge each batch by its expectations.

    Args:
        batches: a frame a batch.
        expected: what ``suites`` gave.
        docs: folder for Data Docs, replaced whole; None writes none.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # it would look for a network
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
    )

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        ),
    )
    context.variables.progress_bars = {"globally": False}
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        site = Path(scratch) / "docs"
        if docs is not None:
            context.add_data_docs_site(site_name="docs", site_config=_site(site))
        source = context.data_sources.add_pandas("s2tx")
        outcomes = []
        for name, frame in batches.items():
            asset = source.add_dataframe_asset(name=name)
            definition = context.validation_definitions.add(
                gx.ValidationDefinition(
                    name=name,
                    data=asset.add_batch_definition_whole_dataframe("table"),
                    suite=context.suites.add(
                        gx.ExpectationSuite(name=name, expectations=expected[name])
                    ),
                )
            )
            details = {"result_format": "COMPLETE" if name == "variates" else "SUMMARY"}
            if name == "variates":
                details["unexpected_index_column_names"] = ["variate"]  # type: ignore[assignment]
            checkpoint = context.checkpoints.add(
                gx.Checkpoint(name=name, validation_definitions=[definition], result_format=details)
            )
            # A fixed run time: the same table gives the same pages in the same places.
            run = checkpoint.run(
                batch_parameters={"dataframe": frame}, run_id=RunIdentifier("table", _EPOCH)
            )
            outcomes += [_outcome(name, result) for result in _results(run)]
        if docs is not None:
            context.build_data_docs()
            shutil.rmtree(docs, ignore_errors=True)
            docs.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(site, docs)
    return outcomes


def _results(run: Any) -> list[Any]:
    return [result for validation in run.run_results.values() for result in validation.results]


def _outcome(batch: str, result: Any) -> Outcome:
    meta = result.expectation_config.meta
    found = result.result
    rows = found.get("unexpected_index_list") or []
    offenders = [str(row["variate"]) for row in rows] if batch == "variates" else []
    if not offenders and not result.success:
        offenders = [str(value) for value in found.get("partial_unexpected_list", [])]
    return Outcome(
        batch=batch,
        check=meta["check"],
        severity=meta["severity"],
        description=result.expectation_config.description,
        success=bool(result.success),
        offenders=tuple(offenders[:1000]),
    )


def _site(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(folder),
        },
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
