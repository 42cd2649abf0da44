"""Sets a new Tryton database up: a company, its sales people, the connector's user, and people to begin with.

Run by Tryton's own Python (`python company.py CONFIG DATABASE`, what to set up as JSON on standard input), so it imports nothing of ours.
One rule: it runs once on a database, before its server starts.
"""

import datetime as dt
import json
import sys
from decimal import Decimal
from typing import Any

from proteus import Model, Wizard, config

GROUP = "Sale Opportunity"


def main() -> None:
    """Set up what standard input says."""
    config_file, database = sys.argv[1:]
    wanted = json.load(sys.stdin)
    tryton = config.set_trytond(database, user="admin", config_file=config_file)
    company = _company(wanted["company"], currency=wanted["currency"])
    tryton._context = Model.get("res.user").get_preferences(True, {})  # noqa: SLF001  as Tryton's own scenarios do
    employees = {one["code"]: _employee(one, company) for one in wanted["employees"]}
    for one in wanted["users"]:
        _user(one, company, employees)
    for one in wanted["people"]:
        _person(one, employees)


def _company(name: str, *, currency: str) -> Any:
    money = Model.get("currency.currency")(
        name=currency, code=currency, symbol=currency, rounding=Decimal(1), digits=0
    )
    money.save()
    Model.get("currency.currency.rate")(date=dt.date.min, rate=Decimal(1), currency=money).save()
    wizard = Wizard("company.company.config")
    wizard.execute("company")
    wizard.form.party = _party(name)
    wizard.form.currency = money
    wizard.execute("add")
    (company,) = Model.get("company.company").find([])
    return company


def _party(name: str, **values: Any) -> Any:
    party = Model.get("party.party")(name=name, **{key: values[key] for key in values.keys() - {"email"}})
    if values.get("email"):
        way = party.contact_mechanisms.new()
        way.type, way.value = "email", values["email"]
    party.save()
    return party


def _employee(one: dict[str, Any], company: Any) -> Any:
    party = _party(one["name"], code=one["code"], email=one["email"])
    employee = Model.get("company.employee")(party=party, company=company)
    employee.save()
    return employee


def _user(one: dict[str, Any], company: Any, employees: dict[str, Any]) -> None:
    # A record of proteus belongs to one list, so each user gets its own.
    of_company, of_employee = type(company), Model.get("company.employee")
    user = Model.get("res.user")(name=one["name"], login=one["login"], password=one["password"])
    user.groups.extend(Model.get("res.group").find([("name", "=", GROUP)]))
    user.companies.append(of_company(company.id))
    user.company = of_company(company.id)
    if one.get("employee") is not None:
        user.employees.append(of_employee(employees[one["employee"]].id))
        user.employee = of_employee(employees[one["employee"]].id)
    user.save()


def _person(one: dict[str, Any], employees: dict[str, Any]) -> None:
    party = _party(one["name"], email=one["email"])
    if one["kind"] == "contact":
        return
    lead = Model.get("sale.opportunity")(party=party, description=one["description"])
    lead.employee = employees[one["owner"]]
    lead.save()
    if one["kind"] == "deal":
        lead.click("opportunity")


if __name__ == "__main__":
    main()
