"""The calibration course: what an expert answers first, annotators learn from, and are then tested on.

- `sets.propose_calibration(trajectories, count, rng)`: a training set and two test sets, as `Pair` records.
- `build.build(ws)`: the stage; the sets, assigned to everybody who can have them by now.
- `build.retest(ws, annotator_ids)`: for those not certified, the rest of their set, or a second training and set.
- `lessons.assign_lessons(ws, record)`: that training, made of what was missed;
  `lessons.assign_refresher(ws, annotator_id)` a short one for somebody whose agreement falls.
"""
