"""The lock of a run, for modules that still take it from here."""

from common.files import RunBusy as RunBusy
from common.files import lock as lock
