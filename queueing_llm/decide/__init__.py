"""The front door: ask every route, answer with the strongest evidence.

``stability`` knows closed answers, ``simulate`` measures; they do not know each other. This
package asks them in order of the grade of their evidence and compares the arrival rate with
the critical rate that comes back.
"""

from queueing_llm.decide._critical import critical_rate
from queueing_llm.decide._network import check_network
from queueing_llm.decide._network_verdict import NetworkVerdict
from queueing_llm.decide._verdict import check_stability

__all__ = ["NetworkVerdict", "check_network", "check_stability", "critical_rate"]
