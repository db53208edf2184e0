"""Results from the records of this project's runs and from the logs of other repositories."""
