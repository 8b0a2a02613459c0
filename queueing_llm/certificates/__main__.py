"""``python -m queueing_llm.certificates check FILE...``: verify certificates."""

import sys

from queueing_llm.certificates._checker import Rejected
from queueing_llm.certificates._store import read_certificate
from queueing_llm.errors import InvalidArgument


def main(arguments: list[str]) -> int:
    """Check every file; 0 if all prove their claims, 1 if one does not, 2 for bad input."""
    if len(arguments) < 2 or arguments[0] != "check":
        sys.stderr.write("usage: python -m queueing_llm.certificates check FILE...\n")
        return 2
    status = 0
    for path in arguments[1:]:
        try:
            checked = read_certificate(path).check()
        except InvalidArgument as error:
            sys.stderr.write(f"error: {error}\n")
            return 2
        except Rejected as reason:
            sys.stdout.write(f"{path}: REJECTED: {reason}\n")
            status = 1
        else:
            sys.stdout.write(
                f"{path}: PROVED: {checked.statement} ({checked.comparisons} comparisons)\n"
            )
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
