"""`common.files` under the name that trainers know it by."""

from common.files import write_bytes as write_bytes
