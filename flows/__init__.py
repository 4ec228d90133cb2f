"""Prefect: when things run, with which retries, and what happens around the DAG."""
