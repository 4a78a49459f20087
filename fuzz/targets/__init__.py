# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the worker reads bytes from elsewhere: each target takes any bytes and checks what holds.

Beside the target itself, a module has what the property tests share with it.
"""

from collections.abc import Callable

from fuzz.targets.catalog_document import check_catalog_document
from fuzz.targets.configuration import check_configuration
from fuzz.targets.http_answers import check_http_answers
from fuzz.targets.journal import check_journal
from fuzz.targets.options import check_options
from fuzz.targets.request import check_request
from fuzz.targets.vendor_answers import check_vendor_answers

TARGETS: dict[str, Callable[[bytes], None]] = {
    "vendor_answers": check_vendor_answers,
    "http_answers": check_http_answers,
    "journal": check_journal,
    "configuration": check_configuration,
    "options": check_options,
    "request": check_request,
    "catalog_document": check_catalog_document,
}
