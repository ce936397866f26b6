//! Fields of responses that ConfigMaps have.

use std::mem;

use http::HeaderValue;

use super::{Compiler, Reason, fields::set};
use crate::{
    controller::{
        annotations::{AnnotationValues, CLOSED},
        config_maps,
    },
    objects::EventType,
    routing::{Refusal, ResponseStep},
};

impl Compiler<'_> {
    /// Returns the steps that set the fields of ConfigMaps. If one cannot be read, the paths are
    /// closed, as with ingress-nginx: the fields may be what browsers are protected by.
    pub(super) fn custom_fields(
        &mut self,
        values: &mut AnnotationValues,
    ) -> Result<Vec<ResponseStep>, Refusal> {
        let mut steps = Vec::new();
        let mut refusal = None;
        for (annotation, map) in mem::take(&mut values.fields.custom) {
            match self.custom_fields_of(&annotation, &map) {
                Ok(fields) => steps.extend(fields),
                Err((reason, message)) => {
                    refusal = Some(Refusal::InvalidGuard);
                    values.report(EventType::Warning, reason, &annotation, message + CLOSED);
                }
            }
        }
        refusal.map_or(Ok(steps), Err)
    }

    fn custom_fields_of(
        &mut self,
        annotation: &str,
        map: &str,
    ) -> Result<Vec<ResponseStep>, (Reason, String)> {
        let map = config_maps::name(&self.name.0, map)?;
        self.out.config_maps.push(map.clone());

        let fields = config_maps::fields(self.objects, &map)?;
        let steps = fields.into_iter().map(|(name, text)| {
            let is_plain = !text.is_empty() && !text.contains('$');
            let value = is_plain.then(|| HeaderValue::from_str(text).ok()).flatten();
            let value = value.ok_or_else(|| {
                let message = format!("ConfigMap {}: the value of {name} is not plain text", map.1);
                (Reason::InvalidConfigMap, message)
            })?;
            let field = (annotation.into(), name, value);
            Ok(ResponseStep::SetField(set(field)))
        });
        steps.collect()
    }
}
