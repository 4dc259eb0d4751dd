"""Are the answers good? Agreement, certification, flags, gate, resolution, report; on anybody's judgments.

- `qc.qc(ws, batch_id)`: the stage; a batch's report, and whether it is accepted or held.
- `resolve.resolve(ws)`: the stage; votes → one `Preference` per pair.
- `certification.certify(ws, batch_id)`: the stage; who agrees enough with the expert to annotate.
- `decisions.decide(ws, batch_id, ...)`, `decisions.review(ws, batch_id, annotator_id, ...)`: what a person decides.
- `report.judgments_file.check_file(path, ...)`: the report on a CSV file, without a workspace.
"""
