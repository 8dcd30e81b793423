"""Assisted annotation: a concept model learns from the finished pictures and proposes masks for the next ones.

The model lives in a process of its own, `trainer`, that talks to the server through the files of `folder` alone: either
side may be killed at any moment.

- folder: what lies where in OUT/assist/, and when a training is due. Both sides use it.
- trainer: the process: trains, predicts, writes masks. Only it imports torch.
- process: starts it, sees it die, starts it again.
- guesses: what is proposed on one picture, kept as it was shown.
- outcomes: what proposals cost and were worth; the gate that is learnt from it.
- assistant: all of it for the server.
"""
