"""Why something that staff asked for was not done, beside what the domain itself refuses."""

from accounts.errors import BillingError


class AmountAboveLimit(BillingError):
    """More than this staff member may move at once."""

    code = "amount_above_limit"


class PermissionNeeded(BillingError):
    """These values need a permission that this staff member lacks."""

    code = "permission_needed"


class ChangedSincePreview(BillingError):
    """What would happen now is not what the preview showed. Nothing was done; it is shown and asked again."""

    code = "changed_since_preview"

    def __init__(self) -> None:
        super().__init__("This has changed since the preview, so nothing was done. Look at it again.")


class AlreadyDone(BillingError):
    """The same operation was done before: a double click, or a page sent twice. Nothing was done again."""

    code = "already_done"

    def __init__(self) -> None:
        super().__init__("This was done already; nothing was done a second time.")


class NotFinished(BillingError):
    """The database refused, or did not answer in time. In rare cases the change was made all the same."""

    code = "not_finished"

    def __init__(self) -> None:
        super().__init__(
            "The database did not finish this, so probably nothing was done. Send it again: it is never done twice."
        )
