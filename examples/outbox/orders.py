import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from jobwire.outbox import SqlAlchemyOutbox


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


engine = sa.create_engine("sqlite:///shop.db")
outbox = SqlAlchemyOutbox(Base.metadata)


def place_order(item: str) -> str:
    with Session(engine) as session, session.begin():
        order = Order(item=item)
        session.add(order)
        session.flush()
        return outbox.add(session, "order.ship", {"order": order.id}, queue="shipping")


if __name__ == "__main__":  # once, where you have no migrations
    Base.metadata.create_all(engine)
