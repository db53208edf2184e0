"""`common.names` under the name that runs know it by."""

from common.names import suggest as suggest
