"""What a paper needs: many trainings, one after another, resumable and audited.

Nothing here needs an orchestrator, nor MLflow, DVC, Great Expectations, pydantic or rich: the grid
runs on a bare machine with a GPU.
"""
