"""The manager's console: each fact with the action beside it.

| file | idea |
| --- | --- |
| `desk` | an action: who pressed it, on what, and why it may be refused |
| `now` | where the campaign stands, the one thing to do next, and what the machine is doing |
| `people` | who annotates, how well, and who may |
| `batches` | reports, the gate's decisions, and the next batch |
| `adjudication` | disputed pairs, who decides them, and what was decided |
| `models` | which model is in use, and whether more answers are worth asking |
| `releases` | what the policy team gets |
| `stages` | the commands' functions, as several pages call them |
| `registry` | all pages and actions; what the worker does of them |
| `routes` | Flask: who is signed in, the token of a form, pages, actions, files |

A page is a function from a workspace to what its template shows. An action calls the function that the command of the
same name calls; its name is that command's.
"""
