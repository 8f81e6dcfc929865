// Sends the answer with a header that no plain form can carry: this is what keeps other sites from answering for you.
const form = document.querySelector("form");
const status = document.querySelector("[role=status]");

const show = (text) => {
  status.textContent = text;
  status.focus();
};

const answer = async (deny) => {
  const body = Object.fromEntries(new FormData(form));
  if (deny) {
    delete body.email;
    body.deny = true;
  }
  const response = await fetch(form.getAttribute("action"), {
    method: "POST",
    headers: { "Content-Type": "application/json", "Sealwright-Request": "page" },
    body: JSON.stringify(body),
  });
  const result = await response.json();
  if (!response.ok) {
    show(result.message || "The provider refused.");
  } else if (result.location) {
    location.assign(result.location);
  } else if (result.code) {
    form.hidden = true;
    show(`Your code: ${result.code}`);
  } else {
    form.hidden = true;
    show(deny ? "Refused. You can close this page." : "Done. You can close this page and go back to the other device.");
  }
};

const send = (deny) => answer(deny).catch(() => show("The provider did not answer; try again."));

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send(false);
});
document.getElementById("deny").addEventListener("click", () => send(true));
