"""The reward model: features of frames, actions and state in; one reward per trajectory, and its parts per step, out.

Bradley-Terry (Bradley & Terry 1952) over pairs, with ties (Davidson 1970) and slips. Arrays in, a model out.

| file | idea |
| --- | --- |
| `encoder_weights`, `encoder` | which weights an encoder gets; the encoder, in torch or ONNX Runtime |
| `features` | what the model sees of a trajectory or a piece of one, as a file, a batch, and normalized |
| `projection` | what is kept of a frame |
| `dataset` | labels and single answers as arrays, and their splits |
| `layout` | the columns of several robots, cameras and tasks, and what is missing |
| `layers`, `model` | layers over time; the ensemble, the sum of the parts, its file |
| `outcomes` | progress and success of each step |
| `linear` | a linear part of the steps |
| `summary`, `evidence` | parts on summaries; the Bayesian fit behind all of these, and how much each part counts |
| `weak` | what the pool's quality says before people do |
| `network`, `losses` | the network's training and its losses |
| `checkpoint` | what a training knows between its epochs |
| `train`, `finetune` | all parts on features; the encoder end to end |
"""
