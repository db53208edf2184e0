"""Files of a run: `common.files` under the name that runs know it by."""

from common.files import RunBusy as RunBusy
from common.files import lock as lock
from common.files import write_json as write_json
from common.files import write_text as write_text
