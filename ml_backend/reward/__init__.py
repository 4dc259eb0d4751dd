"""The reward model: features of frames, actions and state in; one reward per trajectory, and its parts per step, out.

Bradley-Terry (Bradley & Terry 1952) over pairs, with ties (Davidson 1970) and slips. Arrays in, a model out.

| file | idea |
| --- | --- |
| `encoder_weights`, `encoder` | which weights an encoder gets; the encoder, in torch or ONNX Runtime |
| `features` | what the model sees of a trajectory, as a file, a batch, and normalized |
| `segments` | pieces of trajectories, as trajectories |
| `dataset` | labels and single answers as arrays, and their splits |
| `layout` | the columns of several robots, cameras and tasks, and what is missing |
| `layers`, `model` | layers over time; the ensemble, the sum of the parts, its file |
| `outcomes` | progress and success of each step |
| `summary`, `evidence` | the linear and kernel part; the Bayesian fit behind it, and how much each part counts |
| `weak` | what the pool's quality says before people do |
| `network`, `losses` | the network's training and its losses |
| `checkpoint` | what a training knows between its epochs |
| `train`, `finetune` | all parts on features; the encoder end to end |
"""
