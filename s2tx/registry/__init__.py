"""MLflow and the alias `champion`: runs, versions, promotion, and the ledger of decisions."""
