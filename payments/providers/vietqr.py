"""VietQR made here: a transfer as an EMV QR payload, and its image. No third party learns who pays what.

NAPAS's profile of EMVCo's merchant-presented QR code: fields of two digits, two digits of length, and the value; the
last field is a CRC-16/CCITT-FALSE over everything before it.
"""

import binascii

import segno

_APPLICATION = "A000000727"
_SERVICE_TO_ACCOUNT = "QRIBFTTA"
_VND = "704"

_BINS = {
    "ABBANK": "970425",
    "ACB": "970416",
    "AGRIBANK": "970405",
    "BACABANK": "970409",
    "BIDV": "970418",
    "EXIMBANK": "970431",
    "HDBANK": "970437",
    "KIENLONGBANK": "970452",
    "LPBANK": "970449",
    "MB": "970422",
    "MBBANK": "970422",
    "MSB": "970426",
    "NAMABANK": "970428",
    "OCB": "970448",
    "PVCOMBANK": "970412",
    "SACOMBANK": "970403",
    "SCB": "970429",
    "SEABANK": "970440",
    "SHB": "970443",
    "TECHCOMBANK": "970407",
    "TPBANK": "970423",
    "VCB": "970436",
    "VIB": "970441",
    "VIETCOMBANK": "970436",
    "VIETINBANK": "970415",
    "VPBANK": "970432",
}


def find_bin(bank: str) -> str | None:
    """The six digits that stand for a bank (given by them, or by its short name), or None."""
    if len(bank) == 6 and bank.isascii() and bank.isdigit():
        return bank
    return _BINS.get(bank.replace(" ", "").upper())


def transfer_payload(*, bank_bin: str, account: str, amount_vnd: int, memo: str) -> str:
    """The text that a banking app reads from the code: a transfer of `amount_vnd` with `memo` (ASCII) filled in."""
    beneficiary = _field("00", bank_bin) + _field("01", account)
    fields = (
        _field("00", "01"),
        _field("01", "12"),  # For one payment, with an amount.
        _field("38", _field("00", _APPLICATION) + _field("01", beneficiary) + _field("02", _SERVICE_TO_ACCOUNT)),
        _field("53", _VND),
        _field("54", str(amount_vnd)),
        _field("58", "VN"),
        _field("62", _field("08", memo)),
    )
    text = "".join(fields) + "6304"
    return f"{text}{binascii.crc_hqx(text.encode('ascii'), 0xFFFF):04X}"


def _field(identifier: str, value: str) -> str:
    return f"{identifier}{len(value):02d}{value}"


def image_uri(payload: str) -> str:
    """The code as a `data:image/svg+xml` address, for an `img` element under a strict content policy."""
    code = segno.make_qr(payload, error="m")
    return str(code.svg_data_uri(scale=4, border=4, light="#fff", encode_minimal=True))
