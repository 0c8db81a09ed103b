"""The rules for requests, in the order in which the exchange checks them.

Sources: the pages named in ``facts.py``; the order is the observed order of refusals for
requests that break several rules.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_plus

from binance_pm.sandbox import facts
from binance_pm.sandbox.messages import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from binance_pm.sandbox.account import SimulatedAccount
    from binance_pm.sandbox.keys import Key
    from binance_pm.sandbox.messages import Request

Pairs = list[tuple[str, str]]


_BY_PATH: dict[str, dict[str, facts.EndpointFacts]] = {}
for _endpoint in facts.ENDPOINTS:
    _BY_PATH.setdefault(_endpoint.path, {})[_endpoint.method] = _endpoint


class Owner(NamedTuple):
    """The account and the key that an API key belongs to."""

    account: SimulatedAccount
    key: Key


def find_endpoint(method: str, path: str) -> facts.EndpointFacts:
    """Return the facts of a method and path.

    Raises:
        Refusal: 404 for an unknown path, 405 for a method that the path does not support.
    """
    here = _BY_PATH.get(path)
    if here is None:
        raise Refusal(facts.NOT_FOUND)
    if method not in here:
        refused = Refusal(facts.METHOD_NOT_ALLOWED)
        refused.headers["Allow"] = ", ".join(sorted(here))
        raise refused
    return here[method]


def check_key(request: Request, endpoint: facts.EndpointFacts, owner: Owner | None) -> Owner:
    """Return the owner of the key that was sent.

    Raises:
        Refusal: -2014 if the key is missing or has the wrong form, -2015 if it is unknown or lacks permission.
    """
    if not re.fullmatch(facts.API_KEY_PATTERN, request.api_key):
        raise Refusal(facts.BAD_KEY_FORMAT)
    if owner is None or facts.family_name(endpoint.path) not in owner.account.families:
        raise Refusal(facts.REJECTED_KEY)
    if owner.account.allowed_ips is not None and request.ip not in owner.account.allowed_ips:
        raise Refusal(facts.REJECTED_KEY)
    return owner


def check_parameters(request: Request, endpoint: facts.EndpointFacts) -> dict[str, str]:
    """Return the parameters by name; the query takes precedence over the body.

    Raises:
        Refusal: -1100 to -1105 for parameters that are too many, duplicate, illegal, missing or unknown; -1130 for a
            value that is not documented.
    """
    query, body = pairs(request.query), pairs(request.body)
    if any(len(dict(part)) < len(part) for part in (query, body)):
        raise Refusal(facts.DUPLICATE_PARAMETER)
    sent = dict(body) | dict(query)
    if endpoint.security == "USER_STREAM":
        # No parameter is documented, but python-binance and ccxt send listenKey or symbol, so parameters are accepted.
        return {}
    known = endpoint.all_parameters
    if sent and not known:
        raise Refusal(facts.TOO_MANY_PARAMETERS, expected=0, received=len(sent))
    if endpoint.name == "um.new_order" and sent.get("type") in facts.ALGO_TYPES:
        raise Refusal(facts.USE_ALGO_ORDERS)
    _check_values(sent, known)
    read = sent.keys() & known.keys()
    if len(read) < len(sent):
        raise Refusal(facts.UNREAD_PARAMETERS, read=len(read), sent=len(sent))
    return sent


def check_timing(parameters: dict[str, str], endpoint: facts.EndpointFacts, now: float) -> None:
    """Check that the timestamp is neither too old nor ahead of the exchange's clock.

    Args:
        parameters: what ``check_parameters`` returned.
        endpoint: its family determines the message of the refusal.
        now: seconds of the exchange's clock.

    Raises:
        Refusal: -1130 or -1131 for a recvWindow that is too long, -1021 for the timestamp.
    """
    recv_window = int(parameters.get("recvWindow", facts.DEFAULT_RECV_WINDOW))
    if recv_window > facts.MAX_RECV_WINDOW:
        raise Refusal(endpoint.family.recv_window, name="recvWindow")
    behind = int(now * 1000) - int(parameters["timestamp"])
    if behind <= -facts.MAX_AHEAD:
        raise Refusal(facts.TIMESTAMP_AHEAD)
    if behind > recv_window:
        raise Refusal(facts.TIMESTAMP_TOO_OLD)


def check_signature(request: Request, key: Key) -> None:
    """Check that the signature matches the bytes that were sent.

    Raises:
        Refusal: -1022, for a signature that is wrong, of another type than the key, or not the last parameter.
    """
    payload, signature = split_signature(request.query, request.body)
    if signature is None or not key.verify(payload, signature):
        raise Refusal(facts.WRONG_SIGNATURE)


def check_account(account: SimulatedAccount, endpoint: facts.EndpointFacts) -> None:
    """Check that the account may call the endpoint.

    Raises:
        Refusal: -21001 on /sapi, -2015 on /papi, for an account without portfolio margin or of another type.
    """
    if not account.enabled or account.account_type not in endpoint.account_types:
        raise Refusal(endpoint.family.not_enabled)


def split_signature(query: bytes, body: bytes) -> tuple[bytes, str | None]:
    """Return the signed bytes and the signature: query and body, concatenated, without the signature.

    The signature is the last parameter of the query, or otherwise of the body; None if it is neither.
    """
    rest, signature = _without_signature(query)
    if signature is not None:
        return rest + body, signature
    rest, signature = _without_signature(body)
    return query + rest, signature


def pairs(form: bytes) -> Pairs:
    """Return the decoded names and values of a query or a form body, in the order sent."""
    parts = (part.partition("=") for part in form.decode("latin-1").split("&") if part)
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in parts]


def _check_values(sent: dict[str, str], parameters: Mapping[str, facts.Parameter]) -> None:
    for name, parameter in parameters.items():
        if parameter.pattern and len(sent.get(name, "")) > facts.LONGEST_CLIENT_ID:
            raise Refusal(facts.CLIENT_ID_LENGTH)
        if sent.get(name) and parameter.legal and not re.fullmatch(parameter.legal, sent[name]):
            raise Refusal(facts.ILLEGAL_CHARACTERS, name=name, pattern=parameter.legal)
    for name, parameter in parameters.items():
        if parameter.required and not sent.get(name):
            raise Refusal(facts.MANDATORY_MISSING, name=name)
        if sent.get(name) == "":
            raise Refusal(facts.EMPTY_PARAMETER, name=name)
        if name in sent and parameter.values and sent[name] not in parameter.values:
            error = facts.WRONG_VALUES.get(name, facts.INVALID_PARAMETER)
            raise Refusal(error, name=name, value=sent[name])


def _without_signature(form: bytes) -> tuple[bytes, str | None]:
    head, mark, tail = form.rpartition(b"signature=")
    if not mark or b"&" in tail or (head and not head.endswith(b"&")):
        return form, None
    return head[:-1], unquote_plus(tail.decode("latin-1"))
