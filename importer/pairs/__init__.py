"""Which two trajectories are compared, and who compares them in which order.

- `sampling.sample_pairs(trajectories, count, ...)`: stratified pairs by quartile, gold items among them.
- `assignments.assign(pairs, annotators, ...)`: who gets which pair, on which side, with duplicates and overlap.
- `batches.next_batch(ws)`: the stage; both of the above, written as a batch. Others make a batch of pairs that a
  person chose, that the ranking chose, or that replace lost ones.
- `imported.import_judgments(ws, path)`: judgments from elsewhere as an answered batch.
- `third_opinions.ask_third(ws, pair_ids)`: one more annotator where two differ.
- `annotators.add_annotators(ws)`: the people of robopref.toml as rows of `annotators`.
- `leave.add(ws, who, ...)`, `leave.leave(ws, annotator_id, ...)`: people who join, pause or leave during a campaign.
"""
