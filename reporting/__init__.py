"""The paper's tables and figures from runs: gather (`gather`), group and mark (`cells`), lay out (`tables`), write."""
