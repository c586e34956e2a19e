"""
Files between peers: the driver of one node, with its disk and its threads.

Who runs what:

- ``send_file`` reads and sends on the thread that called it (see ``upload``).
- :meth:`Files.receive` runs on a link's reader thread, with the session's lock held. It hands an answer about a file
  we send to the waiting ``send_file``, and everything about files we receive to the worker.
- Locks, outermost first: the session's, ``Files._lock``, ``Upload._lock``. Nothing of a channel is called, and no
  function of the application, with one of the last two held.
- One worker, ``crust-files``, started by the first file message, does all writing. It takes one message at a time, of
  addresses in turn, and of the peers at each. It never waits for a peer: where a send buffer is full, replies wait, and
  it goes on writing, or two nodes that send each other much would wait for each other. Only a peer with many unread
  replies has to wait, as its credit runs out. The worker may block on the disk and on its condition; the second wait
  ends with new work, with :meth:`Files.close`, or when it is time to try the replies again.
- Each question to the application (``decide``) has a thread of its own, as it may wait for a person: one a peer at a
  time, ``FILE_TRANSFERS_MAX`` in all. Those at one address get a part of these, as of all transfers: keys cost nothing.
"""

from __future__ import annotations

import collections
import os
import pathlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from .. import limits
from ..exceptions import (
    CrustError,
    PeerLost,
    RemoteProtocolError,
    ServiceClosed,
    Timeout,
    TransferError,
    WouldBlock,
)
from ..runtime.clock import Clock
from ..runtime.threads import Spawn, contained, fork_generation
from ..wire.transfer import (
    Fail,
    FileData,
    Offer,
    Progress,
    Refuse,
    SignedOffer,
    TransferMessage,
    build_transfer,
    parse_transfer_untrusted,
)
from .download import Download, Rules
from .exchange import Exchange
from .file_contract import (
    Decide,
    FileChannel,
    FileFailedHook,
    FileReceivedHook,
    FileSent,
    Log,
    OnReceiving,
    OnSending,
)
from .shares import Turns, is_full
from .transfer import FileSender, first_number, is_ours, short_text
from .upload import Upload, open_source

__all__ = ["Files"]

_NAME_MAX = 1024  # bytes of a name on the wire
_YIELD_EVERY = 16  # messages written before other threads get a chance


class Files:
    """
    All file transfers of one node. Thread-safe.

    Args:
        spawn: Makes the worker and the threads for questions.
        log: One INFO line a received file, and failures of the application's functions.
        on_received: Gets each received file, on the worker: it must not block.
        on_failed: Gets each file that a peer offered and that did not make it, on the worker: it must not block. Files
            that the application refused are not reported.
        clock: What to wait with; None: the system's.
    """

    def __init__(
        self,
        *,
        spawn: Spawn,
        log: Log,
        on_received: FileReceivedHook,
        on_failed: FileFailedHook,
        clock: Clock | None = None,
    ) -> None:
        self._spawn = spawn
        self._log = log
        self._on_received = on_received
        self._on_failed = on_failed
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._changed = self._clock.condition(self._lock)
        """Guards what follows and the first half of each exchange; notified when the worker has something to do."""
        self._exchanges: dict[FileChannel, Exchange] = {}
        self._leaving: dict[FileChannel, Exchange] = {}  # of sessions that are over, until the worker has come to them
        self._ready = Turns[Exchange](lambda exchange: exchange.place)
        self._stalled: list[Exchange] = []  # their replies found no room
        self._retry_at = 0.0  # on the clock: when they are tried again
        self._answers: collections.deque[tuple[Exchange, Download, bool | str]] = collections.deque()
        self._rules: Rules | None = None
        self.bites: Callable[[str], object] = lambda limit: None  # told the name of a limit that has bitten
        self.is_behind: Callable[[bool], bool] = lambda fresh: False  # whether none may begin, for what waits already
        self.part = 1.0  # of all that can be under way, those at one address may have; may be changed at any time
        self._next_number = 0
        self._generation = fork_generation()
        self._working = False
        self._closed = False
        # The worker's own:
        self._undecided: list[tuple[Exchange, Download]] = []
        self._asking: dict[str, bytes | None] = {}  # peers whose file the application is deciding about, and where

    # --- the application's side -------------------------------------------------------------------------------------

    def accept_files(
        self,
        directory: str | os.PathLike[str],
        *,
        decide: Decide | None = None,
        max_size: int | None = None,
        progress: OnReceiving | None = None,
    ) -> None:
        """
        From now on take files that peers send. Replaces what an earlier call said; files under way are not affected.

        Args:
            directory: Where they go. Nothing in it is ever overwritten.
            decide: Called with a :class:`FileOffer` for each file: True takes it, False refuses it, a text refuses it
                with that reason. It may block. None takes every file.
            max_size: Bytes of the largest file taken; None: what the disk has room for.
            progress: Called with a :class:`FileProgress` now and then, on the thread that writes all files.

        Raises:
            FileNotFoundError, NotADirectoryError: There is no such directory.
            ValueError: ``max_size`` is negative.
        """
        path = pathlib.Path(directory).absolute()
        if not path.is_dir():
            kind = NotADirectoryError if path.exists() else FileNotFoundError
            raise kind(f"cannot receive files into {str(path)!r}: there is no such directory; make it first")
        if max_size is not None and max_size < 0:
            raise ValueError(f"max_size must not be negative: {max_size}")
        with self._lock:
            self._rules = Rules(path, decide, max_size, progress)

    def refuse_files(self) -> None:
        """Take no more files, as before :meth:`accept_files`. Files under way, and questions asked, go on."""
        with self._lock:
            self._rules = None

    def send_file(
        self,
        channel: FileChannel,
        path: str | os.PathLike[str],
        *,
        name: str | None = None,
        sign: bool = False,
        progress: OnSending | None = None,
        timeout: float | None = None,
    ) -> FileSent:
        """
        Send a file, and return when the other side has it whole, checked and in its place.

        Args:
            channel: The session it goes through.
            path: A regular file.
            name: What to offer it as; None: the last part of ``path``.
            sign: Sign it.
            progress: Called with the bytes sent and the bytes in all, on this thread.
            timeout: Seconds for all of it, the other side's decision included; None: no limit.

        Raises:
            FileRefused: The other side does not want it; the text says why.
            TransferError: It is no regular file, or something went wrong at either end; the text says what.
            Timeout: Not done in time. The other side keeps nothing of it, unless all was sent and only its word is
                missing: the text says which.
            PeerLost, ServiceClosed: The session, or this node, has ended.
            OSError: The file cannot be read.
        """
        offered = name if name is not None else os.path.basename(os.fsdecode(path))
        offered = offered.encode("utf-8", "replace").decode()
        if not offered or len(offered.encode()) > _NAME_MAX:
            raise TransferError(f"cannot send a file as {offered[:80]!r}: a name has 1 to {_NAME_MAX} bytes")
        if channel.max_message_size < limits.FILE_MESSAGE_MIN:
            raise TransferError(
                f"cannot send a file to {channel.peer_text}: messages have at most {channel.max_message_size} bytes, "
                f"and a file needs {limits.FILE_MESSAGE_MIN}; raise session.max_message_size, here or there"
            )
        with open_source(path) as source:
            size = os.fstat(source.fileno()).st_size
            number, upload = self._add_upload(channel, size, offered, sign, timeout, progress)
            try:
                return upload.run(source)
            except PeerLost:
                self.peer_lost(channel)  # this call may have come after the session's own
                raise
            finally:
                with self._lock:
                    exchange = self._exchanges.get(channel)
                    if exchange is not None:
                        exchange.uploads.pop(number, None)

    def _add_upload(
        self, channel: FileChannel, size: int, name: str, sign: bool, timeout: float | None, progress: OnSending | None
    ) -> tuple[int, Upload]:
        first = first_number(channel.controller)
        with self._lock:
            if self._closed:
                raise ServiceClosed("cannot send a file: the node is closed")
            number = self._next_number + first
            self._next_number = (self._next_number + 2) % (1 << 32)
            upload = Upload(
                channel,
                FileSender(number, size, name, partial(_sign, channel, number, size, name) if sign else None),
                timeout=timeout,
                clock=self._clock,
                progress=progress,
                send_later=lambda message: self._send_later(channel, message),
            )
            self._exchange_locked(channel).uploads[number] = upload
            return number, upload

    def _send_later(self, channel: FileChannel, message: TransferMessage) -> None:
        with self._lock:
            exchange = self._exchanges.get(channel)
            if exchange is not None:
                exchange.replies.append(message)
                self._schedule_locked(exchange)

    # --- the session's side -----------------------------------------------------------------------------------------

    def receive(self, channel: FileChannel, data: bytes) -> None:
        """
        Take a message of kind ``file``. Does not block, and does not touch the disk.

        The session may hold its lock: nothing of the channel is called here. ``channel.file_message_done(len(data))``
        follows on the worker, once for each message that did not raise, while session and node live.

        Raises:
            RemoteProtocolError: The peer broke the format (MalformedMessage) or the numbering; end the session.
        """
        message = parse_transfer_untrusted(data)
        ours = is_ours(message.transfer, channel.controller)
        if ours and isinstance(message, (Offer, SignedOffer)):
            raise RemoteProtocolError(f"a file is offered as number {message.transfer}, which is ours to give")
        with self._lock:
            if self._closed:
                return
            exchange = self._exchange_locked(channel)
            upload = exchange.uploads.get(message.transfer) if ours else None
            exchange.inbound.append((None if ours else message, len(data)))
            self._schedule_locked(exchange)
        if upload is not None:  # else it is over, and this was on its way
            upload.receive(message)

    def peer_lost(self, channel: FileChannel, reason: str = "") -> None:
        """
        The session is over: end its transfers. The last call about this channel. Does not block, and calls nothing of
        the channel.

        Args:
            reason: One word of ``crust.LostReason``.
        """
        with self._lock:
            exchange = self._exchanges.pop(channel, None)
            if exchange is None:
                return
            exchange.lost = True
            if self._working or exchange.inbound:  # else there is nothing of it, on the disk or in memory
                if not self._closed:
                    self._leaving[channel] = exchange
                self._schedule_locked(exchange)
            uploads = list(exchange.uploads.values())
        for upload in uploads:
            upload.stop(PeerLost(f"the session with {channel.peer_text} ended while a file was sent", reason))

    def afterwards(self, channel: FileChannel, then: Callable[[], object]) -> None:
        """Have that done, by the worker, once it keeps nothing of a session that is over. It must be quick."""
        with self._lock:
            exchange = self._leaving.get(channel)
            if exchange is not None:
                exchange.then = then
                return
        then()

    def abandon(self) -> None:
        """In a forked child: close the copies of the descriptors; the files are the parent's (takes no lock)."""
        self._lock = threading.Lock()
        for exchange in [*self._exchanges.values(), *self._leaving.values()]:
            for download in list(exchange.downloads.values()):
                download.abandon()
        self._exchanges, self._leaving = {}, {}

    def close(self) -> None:
        """
        End all transfers and the worker: peers are told as far as that needs no waiting, temporaries are removed.
        Does not block; join the threads. Idempotent.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            uploads = [upload for exchange in self._exchanges.values() for upload in exchange.uploads.values()]
            self._changed.notify_all()
        for upload in uploads:
            upload.stop(ServiceClosed("the node was closed while a file was sent"))

    def _exchange_locked(self, channel: FileChannel) -> Exchange:
        exchange = self._exchanges.get(channel)
        if exchange is None:
            exchange = self._exchanges[channel] = Exchange(channel)
        return exchange

    def _schedule_locked(self, exchange: Exchange) -> None:
        """Let the worker come to this exchange, and start it if this is the first time."""
        if not exchange.queued:
            exchange.queued = True
            self._ready.append(exchange)
            self._changed.notify_all()
        if not self._working and not self._closed:
            try:
                self._spawn("crust-files", self._work)
                self._working = True
            except RuntimeError:
                self._log.exception("cannot start the thread that writes files; the next message tries again")

    # --- the worker -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        served = 0
        while True:
            with self._lock:
                self._wait_locked()
                if fork_generation() != self._generation:
                    return  # a greenlet that a forked child has inherited: the files are the parent's
                if self._closed:
                    break
                answers, self._answers = self._answers, collections.deque()
                exchange = self._ready.popleft() if self._ready else None
            began = self._clock.now()
            while answers:
                self._decided(*answers.popleft())
            if exchange is not None:
                self._serve(exchange)
            exchange, served, took = None, served + 1, self._clock.now() - began  # who waits keeps no session
            if took > limits.DISK_TURN_SECONDS or served % _YIELD_EVERY == 0:  # greenlets run only if we let them,
                time.sleep(max(limits.TURN_PAUSE, took * limits.DISK_REST))  # and none has while the disk was slow
        self._shut_down()

    def _wait_locked(self) -> None:
        """Until there is something to do."""
        while True:
            left = self._retry_at - self._clock.now()
            if self._stalled and left <= 0:
                self._ready.extend(self._stalled)
                self._stalled.clear()
            if self._ready or self._answers or self._closed:
                return
            self._changed.wait(left if self._stalled else None)

    def _serve(self, exchange: Exchange) -> None:
        """Do one thing for a peer, and put it back in line if there is more."""
        if exchange.lost:
            self._end(exchange, f"the session with {exchange.channel.peer_text} ended")
            return
        self._flush(exchange)
        if len(exchange.replies) < limits.FILE_REPLIES_MAX:
            with self._lock:
                message, size = exchange.inbound.popleft() if exchange.inbound else (None, 0)
            if message is not None:
                self._handle(exchange, message)
                self._flush(exchange)
            if size:
                exchange.channel.file_message_done(size)
        with self._lock:
            self._put_back_locked(exchange)

    def _put_back_locked(self, exchange: Exchange) -> None:
        if exchange.lost or (exchange.inbound and len(exchange.replies) < limits.FILE_REPLIES_MAX):
            self._ready.append(exchange)
        elif exchange.replies:
            if exchange.inbound:
                self.bites("FILE_REPLIES_MAX")
            if not self._stalled:
                self._retry_at = self._clock.now() + limits.FILE_RETRY_DELAY
            self._stalled.append(exchange)
        else:
            exchange.queued = False

    def _flush(self, exchange: Exchange) -> None:
        """Send what waits for this peer, as far as there is room."""
        while exchange.replies:
            try:
                exchange.channel.send_file_message(build_transfer(exchange.replies[0]), 0)
            except (WouldBlock, Timeout):
                return
            except CrustError:  # the session is over: peer_lost() follows
                exchange.replies.clear()
                return
            exchange.replies.popleft()

    def _reply(self, exchange: Exchange, *messages: TransferMessage) -> None:
        with self._lock:
            for message in messages:
                if isinstance(message, Progress):
                    self._drop_progress_locked(exchange, message.transfer)
                exchange.replies.append(message)

    def _drop_progress_locked(self, exchange: Exchange, transfer: int) -> None:
        """Forget a report that waits and that a newer one replaces: what waits is bounded by the files under way."""
        for waiting in exchange.replies:
            if isinstance(waiting, Progress) and waiting.transfer == transfer:
                exchange.replies.remove(waiting)
                return

    def _handle(self, exchange: Exchange, message: TransferMessage) -> None:
        try:
            self._take(exchange, message)
        except Exception:  # whatever one peer has brought about, the others are still served
            self._log.exception("a file message of %s could not be handled", exchange.channel.peer_text)
            download = exchange.downloads.get(message.transfer)
            if download is not None:
                download.give_up("an internal error")
                self._settle(exchange, download)

    def _take(self, exchange: Exchange, message: TransferMessage) -> None:
        if exchange.place is None or isinstance(message, (Offer, SignedOffer)):
            exchange.place = exchange.channel.place  # which takes a while to find out
        download = exchange.downloads.get(message.transfer)
        if download is not None:
            if download.receive(message):
                self._tell_progress(download)
            self._settle(exchange, download)
        elif isinstance(message, (Offer, SignedOffer)):
            self._offered(exchange, message)
        else:
            if isinstance(message, FileData):
                exchange.channel.stray_data()
            if message.transfer not in exchange.ended and not isinstance(message, Fail):
                self._remember(exchange, message.transfer)
                self._reply(exchange, Fail(message.transfer, "there is no such transfer"))

    def _offered(self, exchange: Exchange, offer: Offer | SignedOffer) -> None:
        with self._lock:
            rules, refusal = self._rules, ""
            others = [download for each in self._exchanges.values() for download in each.downloads.values()]
        most, places = limits.FILE_TRANSFERS_ALL_MAX, [download.place for download in others]
        if rules is None:
            refusal = "this node does not accept files"
        elif len(exchange.downloads) >= limits.FILE_TRANSFERS_MAX:
            self.bites("FILE_TRANSFERS_MAX")
            refusal = f"more than {limits.FILE_TRANSFERS_MAX} files at once; send the next one when one is done"
        elif len(others) >= most:
            self.bites("FILE_TRANSFERS_ALL_MAX")
            refusal = "this node is receiving too many files; try again later"
        elif is_full(exchange.place, places, most, self.part, limits.FILE_TRANSFERS_MAX):
            self.bites("limits.peers_per_address")
            refusal = "this node is receiving too many files from your address; try again later"
        elif self.is_behind(True):
            refusal = "this node has not caught up with what others have sent; try again later"
        elif exchange.channel.takes_signed_only and isinstance(offer, Offer):
            refusal = "this node takes only files that are signed"
            exchange.channel.unsigned_file()
        elif isinstance(offer, SignedOffer) and not exchange.fresh.take(offer.transfer):
            refusal = f"number {offer.transfer} has been given to another signed file in this session"
        if rules is None or refusal:
            self._reply(exchange, Refuse(offer.transfer, short_text(refusal)))
            return
        exchange.ended.pop(offer.transfer, None)
        download = exchange.downloads[offer.transfer] = Download(exchange.channel, offer, rules)
        if not download.check_size(self._promised()):
            self._settle(exchange, download)
        elif rules.decide is None:
            download.decided(True, self._promised())
            self._settle(exchange, download)
        else:
            self._undecided.append((exchange, download))
            self._ask()

    def _promised(self) -> int:
        """Bytes of the disk that accepted files will still need."""
        with self._lock:
            exchanges = list(self._exchanges.values())
        return sum(download.to_come for exchange in exchanges for download in exchange.downloads.values())

    def _ask(self) -> None:
        """Put as many questions to the application as may be open at once."""
        waiting, self._undecided = self._undecided, []
        for exchange, download in waiting:
            peer = exchange.channel.peer_text
            if download.over:
                continue
            most, places = limits.FILE_TRANSFERS_MAX, self._asking.values()
            is_waiting = peer in self._asking or is_full(download.place, places, most, self.part, 1)
            if is_waiting or len(self._asking) >= most:
                self._undecided.append((exchange, download))
                continue
            self._asking[peer] = download.place
            try:
                self._spawn("crust-file-question", self._question, exchange, download)
            except RuntimeError:
                self._log.exception("cannot start a thread to ask about a file of %s", peer)
                with self._lock:
                    self._answers.append((exchange, download, "this node is too busy; try again later"))

    def _question(self, exchange: Exchange, download: Download) -> None:
        """A thread of its own: ends with the application's answer."""
        answer: bool | str = "the receiving program could not decide"
        try:
            decide = download.rules.decide
            text = "decide() failed for %r from %s"
            with contained(self._log.exception, text, download.name, exchange.channel.peer_text):
                answer = decide(download.offer) if decide is not None else True
        finally:
            with self._lock:
                self._answers.append((exchange, download, answer))
                self._changed.notify_all()

    def _decided(self, exchange: Exchange, download: Download, answer: bool | str) -> None:
        self._asking.pop(exchange.channel.peer_text, None)
        if not download.over:
            download.decided(answer, self._promised())
            self._settle(exchange, download)
            with self._lock:
                self._schedule_locked(exchange)
        self._ask()

    def _tell_progress(self, download: Download) -> None:
        with contained(self._log.exception, "progress() failed for %r; it is not called again", download.name):
            download.tell_progress()

    def _settle(self, exchange: Exchange, download: Download) -> None:
        """Queue what a download has to say; report and forget it if it is over."""
        self._reply(exchange, *download.messages_to_send())
        if not download.over:
            return
        transfer = download.receiver.transfer
        exchange.downloads.pop(transfer, None)
        self._remember(exchange, transfer)
        self._flush(exchange)  # the last word goes out before an application that closes on the event can cut it off
        self._report(download)

    def _report(self, download: Download) -> None:
        peer: Any = download.channel.peer
        receiver = download.receiver
        if download.path is not None:
            self._log.info("received %s, %d bytes, from %s", download.path, receiver.size, download.channel.peer_text)
            self._on_received(peer, download.path, download.name, receiver.size, receiver.digest.hex(), receiver.proof)
        elif download.failure:
            self._on_failed(peer, download.name, download.failure)

    def _remember(self, exchange: Exchange, transfer: int) -> None:
        exchange.ended[transfer] = None
        if len(exchange.ended) > limits.FILE_ENDED_MEMORY:
            del exchange.ended[next(iter(exchange.ended))]

    def _end(self, exchange: Exchange, reason: str) -> None:
        """Give up everything that a peer was sending."""
        for download in list(exchange.downloads.values()):
            download.give_up(reason)
            self._settle(exchange, download)
        self._undecided = [each for each in self._undecided if each[0] is not exchange]
        with self._lock:
            sizes = [size for _, size in exchange.inbound]
            exchange.inbound.clear()
            self._leaving.pop(exchange.channel, None)
            then, exchange.then = exchange.then, None
        for size in sizes:
            exchange.channel.file_message_done(size)
        if then is not None:
            then()

    def _shut_down(self) -> None:
        """The node is closing: the last thing the worker does."""
        with self._lock:
            exchanges = list({*self._exchanges.values(), *self._leaving.values(), *self._ready, *self._stalled})
            self._exchanges.clear()
            self._ready.clear()
            self._stalled.clear()
        for exchange in exchanges:
            self._end(exchange, "the receiving node is closing")
            self._flush(exchange)


def _sign(channel: FileChannel, number: int, size: int, name: str, digest: bytes) -> bytes:
    return channel.sign_file(number, size, digest, name)
