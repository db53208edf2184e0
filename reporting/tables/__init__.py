"""The tables: base to new, cross-dataset, few-shot and costs, and how a table is written."""
