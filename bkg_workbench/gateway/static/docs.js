// Starts Swagger UI on the gateway's own description; nothing is asked of any other address.
window.addEventListener("load", () => {
  SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#docs",
    deepLinking: true,
    displayRequestDuration: true,
    filter: true,
    persistAuthorization: false,
    tryItOutEnabled: true,
    validatorUrl: "none",
    defaultModelsExpandDepth: 0,
  });
});
