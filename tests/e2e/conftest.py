"""Few Digits, as the tests of trainers have them: what is tested here shows on them too."""

from tests.trainers.conftest import data_root  # noqa: F401
