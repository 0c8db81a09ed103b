"""How the exchange refuses orders and changes of an account, as data.

Codes and wording: https://developers.binance.com/docs/derivatives/portfolio-margin/error-code; -4116, -4120, -5021,
-5022 and -5027 are those of https://developers.binance.com/docs/derivatives/usds-margined-futures/error-code, and the
texts of -2010 those of https://developers.binance.com/docs/binance-spot-api-docs/errors (all read 2026-11-29).
"""

from __future__ import annotations

from binance_pm.sandbox.facts import Error

NOT_REQUIRED = Error(-1106, 400, "Parameter '{name}' sent when not required.")
TOO_PRECISE = Error(-1111, 400, "Precision is over the maximum defined for this asset.")
INVALID_SIDE = Error(-1117, 400, "Invalid side.")
BAD_COMBINATION = Error(-1128, 400, "Combination of optional parameters invalid.")
TOO_LONG = Error(-1127, 400, "Lookup interval is too big.")

FILTER_FAILURE = Error(-1013, 400, "Filter failure: {name}")
DUPLICATE_ORDER = Error(-2010, 400, "Duplicate order sent.")
INSUFFICIENT_BALANCE = Error(-2010, 400, "Account has insufficient balance for requested action.")
WOULD_MATCH = Error(-2010, 400, "Order would immediately match and take.")
WOULD_TRIGGER_AT_ONCE = Error(-2010, 400, "Order would trigger immediately.")
WRONG_OCO_PRICES = Error(-2010, 400, "The relationship of the prices for the orders is not correct.")
CANCEL_REJECTED = Error(-2011, 400, "Unknown order sent.")
NO_SUCH_ORDER = Error(-2013, 400, "Order does not exist.")
MARGIN_NOT_SUFFICIENT = Error(-2019, 400, "Margin is insufficient.")
WOULD_TRIGGER = Error(-2021, 400, "Order would immediately trigger.")
BALANCE_NOT_SUFFICIENT = Error(-2018, 400, "Balance is insufficient.")
REDUCE_ONLY_REJECTED = Error(-2022, 400, "ReduceOnly Order is rejected.")
IN_LIQUIDATION = Error(-2023, 400, "User in liquidation mode now.")
MAX_LEVERAGE_RATIO = Error(-2027, 400, "Exceeded the maximum allowable position at current leverage.")
MIN_LEVERAGE_RATIO = Error(-2028, 400, "Leverage is smaller than permitted: insufficient margin balance.")

PRICE_TOO_SMALL = Error(-4001, 400, "Price less than 0.")
QUANTITY_TOO_SMALL = Error(-4003, 400, "Quantity less than zero.")
QUANTITY_BELOW_MINIMUM = Error(-4004, 400, "Quantity less than min quantity.")
QUANTITY_ABOVE_MAXIMUM = Error(-4005, 400, "Quantity greater than max quantity.")
PRICE_OFF_TICK = Error(-4014, 400, "Price not increased by tick size.")
PRICE_TOO_HIGH = Error(-4016, 400, "Price is higher than mark price multiplier cap.")
PRICE_TOO_LOW = Error(-4024, 400, "Price is lower than mark price multiplier floor.")
TOO_MANY_STOPS = Error(-4045, 400, "Reach max stop order limit.")
NO_NEED_TO_CHANGE_MODE = Error(-4059, 400, "No need to change position side.")
WRONG_POSITION_SIDE = Error(-4061, 400, "Order's position side does not match user's setting.")
REDUCE_ONLY_CONFLICT = Error(-4062, 400, "Invalid or improper reduceOnly value.")
MODE_WITH_ORDERS = Error(-4067, 400, "Position side cannot be changed if there exists open orders.")
MODE_WITH_POSITIONS = Error(-4068, 400, "Position side cannot be changed if there exists position.")
DUPLICATE_CLIENT_ID = Error(-4116, 400, "ClientOrderId is duplicated.")
QUANTITY_WITH_CLOSE = Error(-4137, 400, "Quantity must be zero with closePosition equals true.")
REDUCE_ONLY_WITH_CLOSE = Error(-4138, 400, "Reduce only must be true with closePosition equals true.")
SAME_MODE_FOR_BOTH = Error(-4220, 400, "The position mode of COIN-M must be that of USD-M.")
NOTIONAL_TOO_SMALL = Error(
    -4164, 400, "Order's notional must be no smaller than {least} (unless you choose reduce only)."
)
INVALID_INTERVAL = Error(-4165, 400, "Invalid time interval.")
ACCOUNT_REDUCES_ONLY = Error(-4407, 400, "Account is in reduce-only mode: it accepts orders that reduce positions.")
CANNOT_FILL = Error(-5021, 400, "Due to the order could not be filled immediately, the FOK order has been rejected.")
WOULD_TAKE = Error(-5022, 400, "Due to the order could not be executed as maker, the Post Only order will be rejected.")
NOTHING_TO_CHANGE = Error(-5027, 400, "No need to modify the order.")
TOO_OLD_FOR_ENGINE = Error(-5028, 400, "The request arrived at the matching engine outside of the recvWindow.")

EXCEEDS_DEBT = Error(-3015, 400, "Repay amount exceeds borrow amount.")
BALANCE_TOO_SMALL = Error(-3041, 400, "Balance is not enough.")
EXCEEDS_BORROWABLE = Error(51006, 400, "The amount exceeds the maximum that can be borrowed.")
NOT_BORROWABLE = Error(51014, 400, "Borrowing this asset is not possible.")
PRICE_TOO_FAR = Error(51113, 400, "The price is more than 15 % away from the index price.")
NO_LISTEN_KEY = Error(-1125, 400, "This listenKey does not exist.")
NO_LIABILITY = Error(-21004, 400, "The user has no liability.")
TOO_LITTLE_TO_REPAY = Error(-21005, 400, "The balance is too small to repay the loan.")
# The documents give limits for these requests, but neither a code nor a text.
TOO_OFTEN = Error(-1010, 400, "This request was made too often: {most} times in {span} at most.")
