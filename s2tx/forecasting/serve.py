"""The served model, as MLflow's models-from-code: it runs this file under a name of its own.

It takes a data frame with the time column and the variates (at least a look-back of rows) and
answers with the next H rows. Imported as a module, the file only defines the class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from s2tx.forecasting.forecaster import Forecaster
from s2tx.params import RuntimeParams

# One forecast at a time needs no compiled kernels, which would be compiled anew at every start.
_RUNTIME = RuntimeParams(
    device="cpu", precision="32-true", scan="reference", layers="reference", threads=None
)


class Served(PythonModel):  # type: ignore[misc]
    """A ``Forecaster`` behind MLflow's interface."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle that was packaged beside this file."""
        self.forecaster = Forecaster.load(Path(context.artifacts["bundle"]), _RUNTIME)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """The next H rows; see ``Forecaster.predict``."""
        return self.forecaster.predict(model_input)


if __name__ != "s2tx.forecasting.serve":
    mlflow.models.set_model(Served())
