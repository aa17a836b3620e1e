"""From a corpus as it is found to tokenised records to train on: planned, filtered, counted, resumable.

`run.prepare` does it on one machine, `jaxlm.data.beam` on many; both call the same function for each unit of work.
"""
