"""Label Studio: planned assignments go there as tasks, annotations come back as judgments.

- `push.push(ws)`: assignments without a task → users, projects and tasks.
- `pull.pull(ws)`: annotations → rows of `judgments` and `rejected`.
- `judgments.judge(annotation, assignment, annotator)`: one annotation → a `Judgment`, or a `Rejection` with its reason.
- `hints.Hints(ws)`: the tasks that webhooks name → what Label Studio says of them.
- `hand_over.hand_over(ws)`: open pairs of people who left → other annotators.
- `owners`: projects of people who left are closed to them.
- `order.rescore(ws, scores, model_version)`: a new order of the open tasks.
- `export.export_judgments(ws, path)`: the judgments as CSV, JSON Lines or Parquet.

`client` is the only file that imports label_studio_sdk.
"""
