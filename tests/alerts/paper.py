"""A notifier without a medium, for what is above the seam."""

from __future__ import annotations

from app.alerts.notifiers.base import Message, Receipt, Undelivered


class PaperNotifier:
    """`sheets` are the messages by id; while `gone` nothing arrives."""

    def __init__(self) -> None:
        self.sheets: dict[str, Message] = {}
        self.gone = True

    async def open(self) -> None:
        self.gone = False

    async def close(self) -> None:
        self.gone = True

    def go(self, gone: bool) -> None:
        self.gone = gone

    async def send(self, channel: str, message: Message) -> Receipt:
        self._there()
        message_id = str(len(self.sheets))
        self.sheets[message_id] = message
        return Receipt(channel, message_id)

    async def update(self, receipt: Receipt, message: Message) -> None:
        self._there()
        if receipt.message_id not in self.sheets:
            raise Undelivered("There is no such sheet.", retry=False)
        self.sheets[receipt.message_id] = message

    def newest(self) -> tuple[str, list[str]]:
        """Its texts, and the ids of its actions."""
        message = self.sheets[max(self.sheets, key=int)]
        ended = message.outcome
        parts = [message.title, *(f"{name} {value}" for name, value in message.fields)]
        parts += [text.text for text in message.texts]
        parts += [] if ended is None else [ended.text, ended.by, ended.reason]
        return "\n".join(parts), [] if ended is not None else [action.id for action in message.actions]

    def _there(self) -> None:
        if self.gone:
            raise Undelivered("There is no paper.", retry=True)
