"""Domain ⇄ protobuf, both ways: nothing else builds or reads messages of the contract.

Where a call carries a thousand elements, the outer message is laid down record by record around elements that are
encoded one by one (fields of a message may be concatenated): cheaper, and its size is known to the byte.
"""
